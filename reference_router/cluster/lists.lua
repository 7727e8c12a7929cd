-- The model list of one provider, which all replicas share. Redis runs each call as one step.
--
-- KEYS: list, lock, newest
-- ARGV: what a replica says, its name, LIFE_MS, and
--   look           the list; where there is none, the right to fetch it, for LIFE_MS
--   fetching       it still fetches: the right lasts for LIFE_MS from now on
--   fetched V list it has fetched this one, which lasts for LIFE_MS
-- Returns the list and its life that is left in ms; or an empty one, and the version of the list
-- that this replica fetches; or nil: another one fetches, or has fetched a newer one meanwhile.
--
-- A version is the time at which its fetch began, so that versions grow over a loss of the store.

local list, lock, newest = unpack(KEYS)
local said, replica, life_ms = ARGV[1], ARGV[2], ARGV[3]
local is_ours = redis.call('GET', lock) == replica

if said == 'fetching' then
  if is_ours then redis.call('PEXPIRE', lock, life_ms) end
  return false
end
if said == 'fetched' then
  -- What was fetched is kept also by one that has lost the right to fetch it, as by a pause: else
  -- a fetch that takes longer than the right lasts would be repeated for ever.
  if tonumber(ARGV[4]) >= tonumber(redis.call('GET', newest) or 0) then
    redis.call('SET', newest, ARGV[4])
    redis.call('SET', list, ARGV[5], 'PX', life_ms)
  end
  if is_ours then redis.call('DEL', lock) end
end
local known = redis.call('GET', list)
if known then return {known, redis.call('PTTL', list)} end
if said == 'look' and redis.call('SET', lock, replica, 'NX', 'PX', life_ms) then
  local time = redis.call('TIME')
  return {'', time[1] * 1000000 + time[2]}
end
return false
