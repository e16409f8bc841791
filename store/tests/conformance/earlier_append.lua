-- One append: dedupe, membership, next seq, log, membership change. All keys have the box's tag.
-- KEYS: meta, log, members, parties, and, with a client_id, seen
-- ARGV: kind (J, Q, C, D), sender, receiver, between ("sender\0receiver" of a D, else empty), digest,
--       uuid, ts_ms, payload, run_id, messages_max, age_ms_max, window_ms, aged_max
-- Answers {0, epoch, seq, duplicate, has_members, is_member[, uuid, ts_ms]}, {1} (not a member) or
-- {2} (client_id reused). is_member is told of J and Q only. Numbers are exact below 2^53.
--
-- Each call costs about as much as the next, so the box's meta says what would take calls of its own:
-- `members`, whether there are any, and `pair`, whose direct message was the last. Both are written by
-- the script that changes what they speak of, so they are lost with it or not at all.
local meta, log, members, parties, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local kind, sender, ts = ARGV[1], ARGV[2], tonumber(ARGV[7])

local function digits(number)
  return string.format('%.0f', number)
end

local member = 0
if kind ~= 'D' then
  member = redis.call('SISMEMBER', members, sender)
end
if seen then
  local was = redis.call('GET', seen)
  if was then
    local epoch, seq, was_ts = string.match(string.sub(was, 33), '^(%d+) (%d+) (%d+)$')
    if ts < tonumber(was_ts) + tonumber(ARGV[12]) then
      if string.sub(was, 1, 16) ~= ARGV[5] then
        return {2}
      end
      local has_members = redis.call('EXISTS', members)
      return {0, epoch, seq, 1, has_members, member, string.sub(was, 17, 32), was_ts}
    end
  end
end
if (kind == 'C' or kind == 'Q') and member == 0 then
  return {1}
end

local state = redis.call('HMGET', meta,
  'epoch', 'seq', 'run', 'floor', 'oldest', 'members', 'pair')
local epoch, before = tonumber(state[1]) or 0, tonumber(state[2]) or 0
local floor_before, oldest = tonumber(state[4]) or 0, tonumber(state[5]) or ts
-- Another life of the server may have lost writes: what it numbers now is told apart by the epoch.
local new_epoch = before == 0 or state[3] ~= ARGV[9]
if new_epoch then
  epoch = math.max(epoch + 1, ts)
end
local seq = before + 1

local floor = math.max(floor_before, seq - tonumber(ARGV[10]))
local age = tonumber(ARGV[11])
if oldest + age <= ts then
  local aged_max = tonumber(ARGV[13])
  local aged = redis.call('XRANGE', log, digits(floor + 1), '+', 'COUNT', aged_max)
  oldest = #aged < aged_max and ts or 0
  for _, entry in ipairs(aged) do
    local entry_ts = tonumber(entry[2][4])
    if entry_ts + age > ts then
      oldest = entry_ts
      break
    end
    floor = floor + 1
  end
end

-- The first write: a server that is out of memory, or read-only, refuses the whole script here.
local seq_digits, epoch_digits = digits(seq), new_epoch and digits(epoch) or state[1]
local id = seq_digits .. '-0'
if floor > floor_before then
  redis.call('XADD', log, 'MINID', '~', digits(floor + 1), id,
    'e', epoch_digits, 't', ARGV[7], 'w', ARGV[4], 'p', ARGV[8])
else
  redis.call('XADD', log, id, 'e', epoch_digits, 't', ARGV[7], 'w', ARGV[4], 'p', ARGV[8])
end

local has_members, pair = state[6], state[7] or ''
if kind == 'J' then
  redis.call('SADD', members, sender)
  member, has_members = 1, '1'
elseif kind == 'Q' then
  redis.call('SREM', members, sender)
  member, has_members = 0, tostring(redis.call('EXISTS', members))
elseif kind == 'C' then
  has_members = '1'
else
  local reversed = ARGV[3] .. '\0' .. sender
  if pair ~= ARGV[4] and pair ~= reversed then
    redis.call('SADD', parties, sender, ARGV[3])
    pair = ARGV[4]
  end
  has_members = has_members or tostring(redis.call('EXISTS', members))
end

if new_epoch then
  redis.call('HSET', meta, 'epoch', epoch_digits, 'run', ARGV[9], 'base', digits(before),
    'seq', seq_digits, 'floor', digits(floor), 'oldest', digits(oldest),
    'members', has_members, 'pair', pair)
elseif floor == floor_before and digits(oldest) == state[5]
  and has_members == state[6] and pair == state[7] then
  redis.call('HSET', meta, 'seq', seq_digits)
else
  redis.call('HSET', meta, 'seq', seq_digits, 'floor', digits(floor), 'oldest', digits(oldest),
    'members', has_members, 'pair', pair)
end
if seen then
  local answer = ARGV[5] .. ARGV[6] .. epoch_digits .. ' ' .. seq_digits .. ' ' .. ARGV[7]
  redis.call('SET', seen, answer, 'PX', ARGV[12])
end
return {0, epoch, seq, 0, tonumber(has_members), member}
