-- A box as one user stands to it.
-- KEYS: meta, members, parties  ARGV: uid
-- Answers {epoch, seq, epoch_base, is_member, is_party}.
local state = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'base')
return {state[1] or 0, state[2] or 0, state[3] or 0,
  redis.call('SISMEMBER', KEYS[2], ARGV[1]), redis.call('SISMEMBER', KEYS[3], ARGV[1])}
