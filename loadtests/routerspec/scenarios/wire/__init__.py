"""The load of the checks of the wire, of tools and of usage: answers that are hard to pass on."""
