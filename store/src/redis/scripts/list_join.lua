-- Makes room in a user's list before a JOIN is appended, so that whoever is a member is listed.
-- KEYS: joined  ARGV: boxid, boxes_max
-- Answers {0, newly listed} or {4} (too many boxes).
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  return {0, 0}
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  return {4}
end
redis.call('HSET', KEYS[1], ARGV[1], '0 0')
return {0, 1}
