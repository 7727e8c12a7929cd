-- The slots that all replicas share, and the queue for them. Redis runs each call as one step.
--
-- KEYS: birth, seen, leases, limits, slots, queue, ticket
-- ARGV: what a replica says, its name, and
--   renew NUMBER REPLICAS LEASE_MS LIMIT COUNT slot ...  it has a lease from now on; the first COUNT
--                                                        slots it holds, for the others it waits
--   ask slot                                             it waits for this slot
--   leave slot                                           it neither holds this slot nor waits for it
--   end                                                  it gives its lease back
-- Returns slots of the replica that it holds; nil where it has no lease.
--
-- A slot is named by who wants it: REPLICA/COUNTER. So each command may be said twice, and late.

local birth, seen, leases, limits, slots, queue, ticket = unpack(KEYS)
local said, replica = ARGV[1], ARGV[2]

-- The store's own time: a replica's clock may be wrong.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function owner(slot)
  return slot:match('^[^/]+')
end

-- Take from a replica all that it does not claim.
local function drop(name, claimed)
  for _, slot in ipairs(redis.call('SMEMBERS', slots)) do
    if owner(slot) == name and not claimed[slot] then redis.call('SREM', slots, slot) end
  end
  for _, slot in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    if owner(slot) == name and not claimed[slot] then redis.call('ZREM', queue, slot) end
  end
end

local function end_leases()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
    drop(name, {})
    redis.call('ZREM', leases, name)
    redis.call('HDEL', limits, name)
  end
end

-- Give free slots to those who have waited longest: their replicas are told, nobody races.
local function hand_out()
  if now < tonumber(redis.call('GET', birth) or now + 1) then return {} end
  local granted = {}
  local limit = math.min(unpack(redis.call('HVALS', limits)))  -- where they differ, the lowest
  while redis.call('SCARD', slots) < limit do
    local slot = redis.call('ZPOPMIN', queue)[1]
    if not slot then break end
    redis.call('SADD', slots, slot)
    if owner(slot) == replica then
      granted[#granted + 1] = slot
    else
      redis.call('PUBLISH', owner(slot), slot)
    end
  end
  return granted
end

local function wait(slot)
  if redis.call('SISMEMBER', slots, slot) == 0 and not redis.call('ZSCORE', queue, slot) then
    redis.call('ZADD', queue, redis.call('INCR', ticket), slot)
  end
end

-- A store without a birth is new, or has lost what it knew: nothing is granted until all replicas
-- have said what they hold, or until the leases of the others have ended.
local function begin_store(number, replicas, lease_ms)
  redis.call('SET', birth, now + lease_ms, 'NX')
  redis.call('SADD', seen, number)
  if redis.call('SCARD', seen) >= replicas and tonumber(redis.call('GET', birth)) > now then
    redis.call('SET', birth, now)
  end
end

local function renew(number, replicas, lease_ms, limit, count, ...)
  local named = {...}
  local is_young = now < tonumber(redis.call('GET', birth) or now + 1)
  if tonumber(count) > 0 and not is_young and not redis.call('ZSCORE', leases, replica) then
    return false  -- what it holds was given to others when its lease ended
  end
  begin_store(number, tonumber(replicas), tonumber(lease_ms))
  redis.call('ZADD', leases, now + lease_ms, replica)
  redis.call('HSET', limits, replica, limit)
  local claimed = {}
  for _, slot in ipairs(named) do claimed[slot] = true end
  drop(replica, claimed)
  for place, slot in ipairs(named) do
    if place <= tonumber(count) then
      redis.call('ZREM', queue, slot)
      redis.call('SADD', slots, slot)
    else
      wait(slot)
    end
  end
  hand_out()
  local held = {}
  for _, slot in ipairs(redis.call('SMEMBERS', slots)) do
    if owner(slot) == replica then held[#held + 1] = slot end
  end
  return held  -- those that it knows of among them: what was pushed may be lost
end

end_leases()
if said == 'renew' then return renew(unpack(ARGV, 3)) end
if not redis.call('ZSCORE', leases, replica) then return false end
if said == 'ask' then
  wait(ARGV[3])
elseif said == 'leave' then
  redis.call('SREM', slots, ARGV[3])
  redis.call('ZREM', queue, ARGV[3])
elseif said == 'end' then
  drop(replica, {})
end
local granted = hand_out()
if said == 'end' then
  redis.call('ZREM', leases, replica)
  redis.call('HDEL', limits, replica)
end
return granted
