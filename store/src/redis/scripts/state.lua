-- A box as one user stands to it.
-- KEYS: head, meta, members, parties  ARGV: uid
-- Answers {epoch, seq, epoch_base, is_member, is_party}.
local epoch, seq, _, base = read_head(KEYS[1], KEYS[2])
return {epoch, seq, base,
  redis.call('SISMEMBER', KEYS[3], ARGV[1]), redis.call('SISMEMBER', KEYS[4], ARGV[1])}
