-- Reads (after, head] of a box for one reader.
-- KEYS: head, meta, log, members, parties
-- ARGV: reader, after, messages_max, bytes_max, scan_max
-- Answers {0, epoch, seq, scanned_to, then seq, epoch, payload of each entry} or {1} (not a member).
local log, members, parties = KEYS[3], KEYS[4], KEYS[5]
local reader, messages_max, bytes_max = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local CHUNK = 32 -- entries in memory at a time

-- Seq, epoch, the two names of a direct message, payload. An earlier version wrote the fields
-- e(poch), t(s_ms), w (the names), p(ayload) under the id <seq>-0.
local function read_entry(entry)
  local seq, epoch = string.match(entry[1], '^(%d+)%-(%d+)$')
  local fields = entry[2]
  if fields[1] ~= 'm' then
    return tonumber(seq), tonumber(fields[2]), fields[6], fields[8]
  end
  local _, names_bytes = struct.unpack('>I8I2', fields[2])
  return tonumber(seq), tonumber(epoch),
    string.sub(fields[2], 11, 10 + names_bytes), string.sub(fields[2], 11 + names_bytes)
end

local member = redis.call('SISMEMBER', members, reader) == 1
if not member and redis.call('SISMEMBER', parties, reader) == 0 then
  return {1}
end
local head_epoch, head, floor = read_head(KEYS[1], KEYS[2])
local scanned = math.max(math.min(tonumber(ARGV[2]), head), floor)
local last = math.min(head, scanned + tonumber(ARGV[5]))
local answer, count, bytes = {0, head_epoch, head, scanned}, 0, 0
local as_first, as_second = reader .. '\0', '\0' .. reader

while scanned < last and count < messages_max do
  local from, to = string.format('%.0f', scanned + 1), string.format('%.0f', last)
  local chunk = redis.call('XRANGE', log, from, to, 'COUNT', math.min(CHUNK, messages_max - count))
  if #chunk == 0 then
    scanned = last
  end
  for _, entry in ipairs(chunk) do
    local seq, epoch, names, payload = read_entry(entry)
    local readable = member
    if names ~= '' then
      readable = string.sub(names, 1, #as_first) == as_first
        or string.sub(names, -#as_second) == as_second
    end
    if readable then
      bytes = bytes + #payload
      if bytes > bytes_max and count > 0 then
        answer[4] = scanned
        return answer
      end
      count = count + 1
      local at = #answer
      answer[at + 1], answer[at + 2], answer[at + 3] = seq, epoch, payload
    end
    scanned = seq
  end
end
answer[4] = scanned
return answer
