-- For scripts that read: a box's head (see append.lua), or what an earlier version kept in its place.
-- Epoch, seq, floor, base; zeros for a box that is not there.
local function read_head(head, meta)
  local packed = redis.call('GET', head)
  if packed then
    local epoch, seq, floor, _, base = struct.unpack('>I8I8I8I8I8', packed)
    return epoch, seq, floor, base
  end
  local was = redis.call('HMGET', meta, 'epoch', 'seq', 'floor', 'base')
  return tonumber(was[1]) or 0, tonumber(was[2]) or 0, tonumber(was[3]) or 0, tonumber(was[4]) or 0
end
