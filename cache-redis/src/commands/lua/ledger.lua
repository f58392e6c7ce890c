local MOST_FIELDS = 32768
local function begin_ledger(ledger, old, sequence, base, kind)
  redis.call('UNLINK', ledger, old)
  redis.call('HSET', ledger, 'b', base, 'n', 0, 'f', 0)
  redis.call('PEXPIRE', ledger, LIFE)
  publish(sequence, kind .. ':' .. base)
end
local function is_count(text)
  return text and #text <= 15 and (text == '0' or string.match(text, '^[1-9]%d*$'))
end
local function mark(ledger, old, sequence, fresh)
  local found = redis.pcall('HMGET', ledger, 'b', 'n', 'f')
  if found.err and not foreign(found) then redis.call('HMGET', ledger, 'b') end
  local base, count = found[1], found[2]
  if base and #base <= 19 and string.match(base, '^[1-9]%d*$') and is_count(count) and is_count(found[3]) then
    redis.call('PEXPIRE', ledger, LIFE)
    return base, count
  end
  begin_ledger(ledger, old, sequence, fresh, 'b')
  return fresh, '0'
end
