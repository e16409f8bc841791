-- Appends, each atomic as all of a script is: dedupe, membership, next seq, log, membership change.
-- KEYS: the heads of the boxes, one for each message. On a server that is not a Cluster they may be
-- of several boxes; the other keys of a box are named here by the same tag.
-- ARGV: settings (run: 16 bytes; then as u64: messages_max, age_ms_max, window_ms, rotate_ms,
-- expire_ms, aged_max), then four for each message:
--   who: "D" for a direct message, else J, Q or C and the sender
--   client_key: 16 bytes that stand for (sender, client_id), or empty
--   first: digest and uuid, 16 bytes each
--   entry: what is logged: ts_ms (u64), the length (u16) of the two names of a direct message with a
--   zero between them, the lesser first, these names, the payload
-- Answers a string for each: "A", epoch and seq (u64 each), "1" if the box has members, "1" if the
-- sender is one now (told of J and Q only); "D" for a duplicate, the same and the first one's uuid and
-- ts_ms; "N": not a member; "R": client_id reused; or an error, which concerns this message alone.
-- Numbers are exact below 2^53.
--
-- A box's head is one packed string:
--    1 epoch, seq, floor, oldest   what an append moves, so that it alone is written
--   33 base                        the seq that the epoch began after
--   41 young_from, young_began     the seq and the ts_ms at which the younger generation began
--   57 young, old, members         the younger is seen0 or seen1; the older is "0": none, "1": the
--                                  other one, "2": keys of an earlier version; are there members
--   60 run, 76 pair                whose run of the server numbered last; who wrote directly last
--
-- Remembered client_ids are fields of two hashes that take turns: when the younger is rotate_ms old it
-- is the older, and the older is deleted. One that nobody writes to expires.
--
-- Each call of the server costs about as much as the next, so these are few: a direct message takes a
-- GET, an HGET or two, an XADD, a SETRANGE and an HSET, and messages of one box in a row share all but
-- the XADD.
local call, pack, unpack = redis.call, struct.pack, struct.unpack
local sub, format, values = string.sub, string.format, _G.unpack
local KEYS, ARGV = KEYS, ARGV

local TABLE_EVERY = 32 -- messages of one generation: more in a list are slower to search than in a table
local run, messages_max, age, window, rotate, expire, aged_max = unpack('>c16I8I8I8I8I8I8', ARGV[1])

local NOTHING = {}

local tag, log, seen
local epoch, seq, floor, oldest, base, young_from, young_began
local young, old, has_members, box_run, pair
local moved, trimmed, remade -- of the head: position, retention, anything else
local known -- by client_key: digest, uuid, ts_ms, epoch, seq of the first message
local rows -- of `known`, to be written together: client_key and value in turn; nil: no message follows

-- All functions stand in one, which takes the variables above once: each that stood beside it would
-- search for those that it uses, and the search costs more than what they do.
local function append_all()
  -- A box of an earlier version, whose head was a hash and whose client_ids were keys of their own.
  local function load_meta(entry)
    local ts = unpack('>I8', entry)
    local was = call('HMGET', 'newim:meta:' .. tag,
      'epoch', 'seq', 'floor', 'oldest', 'base', 'members', 'run')
    epoch, seq, floor = tonumber(was[1]) or 0, tonumber(was[2]) or 0, tonumber(was[3]) or 0
    oldest, base = tonumber(was[4]) or ts, tonumber(was[5]) or 0
    has_members = was[6] or tostring(call('EXISTS', 'newim:members:' .. tag))
    box_run = seq > 0 and sub(was[7] or '', 1, 16) or ''
    young, old, pair = '0', seq > 0 and '2' or '0', ''
    young_from, young_began = seq, 0
    remade = true
  end

  local function load(key, entry)
    tag = sub(key, 12)
    log = 'newim:log:' .. tag
    moved, trimmed, remade = false, false, false
    local head = call('GET', key)
    if head then
      epoch, seq, floor, oldest, base, young_from, young_began,
        young, old, has_members, box_run = unpack('>I8I8I8I8I8I8I8c1c1c1c16', head)
      pair = sub(head, 76)
    else
      load_meta(entry)
    end
    seen = 'newim:seen' .. young .. ':' .. tag
  end

  local function store(key)
    if not moved then
      return
    elseif remade then
      call('SET', key, pack('>I8I8I8I8I8I8I8c1c1c1c16', epoch, seq, floor, oldest, base, young_from,
        young_began, young, old, has_members, box_run) .. pair)
      if old == '2' then
        call('DEL', 'newim:meta:' .. tag)
      end
    elseif trimmed then
      call('SETRANGE', key, 0, pack('>I8I8I8I8', epoch, seq, floor, oldest))
    else
      call('SETRANGE', key, 0, pack('>I8I8', epoch, seq))
    end
  end

  local function store_rows()
    if rows and #rows > 0 then
      call('HSET', seen, values(rows))
      rows = {}
    end
  end

  local function of_earlier_version(client_key)
    local hex = string.gsub(client_key, '.', function(byte) return format('%02x', string.byte(byte)) end)
    local was = call('GET', 'newim:seen:' .. tag .. hex)
    if was then
      local was_epoch, was_seq, ts = string.match(sub(was, 33), '^(%d+) (%d+) (%d+)$')
      return sub(was, 1, 32) .. pack('>I8I8I8', tonumber(ts), tonumber(was_epoch), tonumber(was_seq))
    end
  end

  local function older()
    return 'newim:seen' .. (young == '0' and '1' or '0') .. ':' .. tag
  end

  local function recall(client_key)
    local was = call('HGET', seen, client_key)
    if was or old == '0' then
      return was
    elseif old == '1' then
      return call('HGET', older(), client_key)
    end
    return of_earlier_version(client_key)
  end

  -- The same for several, of which some are empty.
  local function recall_all(first, last)
    local client_keys = {}
    for message = first, last do
      client_keys[#client_keys + 1] = ARGV[4 * message - 1]
    end
    local younger_rows = call('HMGET', seen, values(client_keys))
    local older_rows = old == '1' and call('HMGET', older(), values(client_keys))
    for at, client_key in ipairs(client_keys) do
      if client_key ~= '' then
        known[client_key] = younger_rows[at] or (older_rows and older_rows[at])
          or (old == '2' and of_earlier_version(client_key)) or nil
      end
    end
  end

  local function remember(client_key, row, ts)
    if young_began == 0 or young_began + rotate <= ts then
      store_rows()
      if young_began > 0 then
        old = ts < young_began + rotate + window and '1' or '0'
      end
      young = young == '0' and '1' or '0'
      seen = 'newim:seen' .. young .. ':' .. tag
      call('UNLINK', seen)
      call('HSET', seen, client_key, row)
      call('PEXPIRE', seen, expire)
      young_from, young_began, remade = seq, ts, true
    else
      if (seq - young_from) % TABLE_EVERY == 0 then
        -- A field this long makes a table of it, whatever the server's settings.
        call('HSET', seen, string.rep('-', 65), '')
      end
      if rows then
        rows[#rows + 1], rows[#rows + 2] = client_key, row
      else
        call('HSET', seen, client_key, row)
      end
    end
    if rows then
      known[client_key] = row
    end
  end

  -- Floor and oldest once the next is appended, by age.
  local function aged(ts, to)
    local found = call('XRANGE', log, format('%d', to + 1), '+', 'COUNT', aged_max)
    for _, entry in ipairs(found) do
      local fields = entry[2]
      local entry_ts = fields[1] == 'm' and unpack('>I8', fields[2]) or tonumber(fields[4])
      if entry_ts + age > ts then
        return to, entry_ts
      end
      to = to + 1
    end
    return to, #found < aged_max and ts or 0
  end

  local function change_members(kind, sender)
    local before = has_members
    if kind == 'J' then
      call('SADD', 'newim:members:' .. tag, sender)
      has_members = '1'
    elseif kind == 'Q' then
      call('SREM', 'newim:members:' .. tag, sender)
      has_members = call('EXISTS', 'newim:members:' .. tag) == 1 and '1' or '0'
    end
    remade = remade or has_members ~= before
  end

  local function append(who, client_key, first, entry)
    local ts, names_bytes = unpack('>I8I2', entry)
    local kind, sender, member = who, nil, '0'
    if who ~= 'D' then
      kind, sender = sub(who, 1, 1), sub(who, 2)
      member = call('SISMEMBER', 'newim:members:' .. tag, sender) == 1 and '1' or '0'
    end
    local was = known[client_key]
    if was and ts < unpack('>I8', was, 33) + window then
      if sub(was, 1, 16) ~= sub(first, 1, 16) then
        return 'R'
      end
      return 'D' .. sub(was, 41) .. has_members .. member .. sub(was, 17, 40)
    end
    if member == '0' and (kind == 'C' or kind == 'Q') then
      return 'N'
    end

    -- Another life of the server may have lost writes: what it numbers now is told apart by the epoch.
    local new_epoch = box_run == run and epoch or math.max(epoch + 1, ts)
    local new_floor, new_oldest = floor, oldest
    if seq + 1 - messages_max > floor then
      new_floor = seq + 1 - messages_max
    end
    if oldest + age <= ts then
      new_floor, new_oldest = aged(ts, new_floor)
    end
    -- The first write: a server that is out of memory, or read-only, refuses it before any is done.
    local id = format('%d-%d', seq + 1, new_epoch)
    if new_floor > floor then
      call('XADD', log, 'MINID', '~', format('%d', new_floor + 1), id, 'm', entry)
    else
      call('XADD', log, id, 'm', entry)
    end

    if box_run ~= run then
      epoch, base, box_run, remade = new_epoch, seq, run, true
    end
    trimmed = trimmed or new_floor > floor or new_oldest ~= oldest
    seq, floor, oldest, moved = seq + 1, new_floor, new_oldest, true
    if kind == 'D' then
      local names = sub(entry, 11, 10 + names_bytes)
      if names ~= pair then
        call('SADD', 'newim:parties:' .. tag, string.match(names, '^(.-)%z(.*)$'))
        pair, remade = names, true
      end
    elseif kind ~= 'C' then
      change_members(kind, sender)
      member = kind == 'J' and '1' or '0'
    end
    local position = pack('>I8I8', epoch, seq)
    if client_key ~= '' then
      remember(client_key, first .. sub(entry, 1, 8) .. position, ts)
    end
    return 'A' .. position .. has_members .. member
  end

  local answers = {}

  local function failed(reason)
    return {err = type(reason) == 'table' and reason.err or reason}
  end

  local function append_to_box(first, last)
    load(KEYS[first], ARGV[4 * first + 1])
    if first == last then
      local client_key = ARGV[4 * first - 1]
      local was = client_key ~= '' and recall(client_key)
      known, rows = was and {[client_key] = was} or NOTHING, nil
    else
      known, rows = {}, {}
      recall_all(first, last)
    end
    for message = first, last do
      local at = 4 * message - 2
      -- Those before it are logged, so the head is stored whatever befalls this one.
      local done, answer = pcall(append, ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
      answers[message] = done and answer or failed(answer)
    end
    store(KEYS[first])
    store_rows()
  end

  local first = 1
  while first <= #KEYS do
    local last = first
    while KEYS[last + 1] == KEYS[first] do
      last = last + 1
    end
    -- A box whose keys are not what they should be doesn't fail the others' messages.
    local done, reason = pcall(append_to_box, first, last)
    if not done then
      for message = first, last do
        answers[message] = failed(reason)
      end
    end
    first = last + 1
  end
  return answers
end

return append_all()
