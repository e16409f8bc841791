-- Lists a box with one party to a direct message, before it is appended.
-- KEYS: direct  ARGV: boxid, boxes_max
-- Answers {0} or {4} (too many boxes).
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then
  return {0}
end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return {4}
end
redis.call('SADD', KEYS[1], ARGV[1])
return {0}
