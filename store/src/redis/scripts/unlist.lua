-- Takes a box off a user's list, unless a JOIN after the named position has listed it.
-- KEYS: joined  ARGV: boxid, epoch, seq
local was = redis.call('HGET', KEYS[1], ARGV[1])
if was then
  local epoch, seq = string.match(was, '^(%d+) (%d+)$')
  epoch, seq = tonumber(epoch), tonumber(seq)
  local to_epoch, to_seq = tonumber(ARGV[2]), tonumber(ARGV[3])
  if epoch < to_epoch or (epoch == to_epoch and seq <= to_seq) then
    redis.call('HDEL', KEYS[1], ARGV[1])
  end
end
return {0}
