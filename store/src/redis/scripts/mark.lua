-- Moves a user's marks in one box forward.
-- KEYS: marks  ARGV: boxid, epoch, epoch_base, delivered, read (zeros: not moved)
-- Marks of an older epoch count up to where the present one began.
local epoch = tonumber(ARGV[2])
local was_delivered, was_read = 0, 0
local was = redis.call('HGET', KEYS[1], ARGV[1])
if was then
  local was_epoch, delivered, read = string.match(was, '^(%d+) (%d+) (%d+)$')
  was_delivered, was_read = tonumber(delivered), tonumber(read)
  if tonumber(was_epoch) > epoch then
    return {0}
  end
  if tonumber(was_epoch) < epoch then
    local base = tonumber(ARGV[3])
    was_delivered, was_read = math.min(was_delivered, base), math.min(was_read, base)
  end
end
local delivered = math.max(was_delivered, tonumber(ARGV[4]))
local read = math.max(was_read, tonumber(ARGV[5]))
local now = string.format('%s %.0f %.0f', ARGV[2], delivered, read)
if now ~= was then
  redis.call('HSET', KEYS[1], ARGV[1], now)
end
return {0}
