-- Reads (after, head] of a box for one reader.
-- KEYS: meta, log, members, parties
-- ARGV: reader, after, messages_max, bytes_max, scan_max
-- Answers {0, epoch, seq, scanned_to, then seq, epoch, payload of each entry} or {1} (not a member).
local meta, log, members, parties = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local reader, messages_max, bytes_max = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local CHUNK = 32 -- entries in memory at a time

local member = redis.call('SISMEMBER', members, reader) == 1
if not member and redis.call('SISMEMBER', parties, reader) == 0 then
  return {1}
end
local state = redis.call('HMGET', meta, 'epoch', 'seq', 'floor')
local head = tonumber(state[2]) or 0
local scanned = math.max(math.min(tonumber(ARGV[2]), head), tonumber(state[3]) or 0)
local last = math.min(head, scanned + tonumber(ARGV[5]))
local answer, count, bytes = {0, state[1], state[2], scanned}, 0, 0
local as_sender, as_receiver = reader .. '\0', '\0' .. reader

while scanned < last and count < messages_max do
  local from, to = string.format('%.0f', scanned + 1), string.format('%.0f', last)
  local chunk = redis.call('XRANGE', log, from, to, 'COUNT', math.min(CHUNK, messages_max - count))
  if #chunk == 0 then
    scanned = last
  end
  for _, entry in ipairs(chunk) do
    local fields = entry[2] -- e, t, w, p as the append wrote them
    local between, payload = fields[6], fields[8]
    local readable = member
    if between ~= '' then
      readable = string.sub(between, 1, #as_sender) == as_sender
        or string.sub(between, -#as_receiver) == as_receiver
    end
    local seq = tonumber(string.match(entry[1], '^%d+'))
    if readable then
      bytes = bytes + #payload
      if bytes > bytes_max and count > 0 then
        answer[4] = scanned
        return answer
      end
      count = count + 1
      local at = #answer
      answer[at + 1], answer[at + 2], answer[at + 3] = seq, fields[2], payload
    end
    scanned = seq
  end
end
answer[4] = scanned
return answer
