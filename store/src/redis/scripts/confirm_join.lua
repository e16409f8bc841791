-- After a JOIN was appended: lists the box under the JOIN's position, so that an older QUIT that
-- comes here late doesn't take it off again.
-- KEYS: joined  ARGV: boxid, epoch, seq
local was = redis.call('HGET', KEYS[1], ARGV[1])
if was then
  local epoch, seq = string.match(was, '^(%d+) (%d+)$')
  epoch, seq = tonumber(epoch), tonumber(seq)
  local new_epoch, new_seq = tonumber(ARGV[2]), tonumber(ARGV[3])
  if epoch > new_epoch or (epoch == new_epoch and seq >= new_seq) then
    return {0}
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
return {0}
