-- How far a box is. KEYS: head, meta  Answers {epoch, seq}.
local epoch, seq = read_head(KEYS[1], KEYS[2])
return {epoch, seq}
