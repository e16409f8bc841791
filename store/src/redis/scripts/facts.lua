-- What a box is like. KEYS: head, meta, members  Answers {epoch, seq, members}.
local epoch, seq = read_head(KEYS[1], KEYS[2])
return {epoch, seq, redis.call('SCARD', KEYS[3])}
