local current = history(KEYS[4])
if current ~= ARGV[5] then return {(current or not last_message(KEYS[6])) and 'history' or 'evicted'} end
if guarded(KEYS[5]) then return {'guarded'} end
if ARGV[1] == 'look' then return {'free'} end
local known = number(KEYS[3])
if not known and ARGV[7] ~= '' and last_message(KEYS[6]) == ARGV[8] then known = ARGV[7] end
local held, waited, kind, epoch, begun = lease_or_back_off(KEYS[2])
if not known or epoch ~= known or begun ~= ARGV[5] then held = nil end
local left = held and redis.call('PTTL', KEYS[2]) or 0
if left < 0 then held = nil end
local failures = 0
if held and kind == 'b' then
  failures = math.min(tonumber(held), 2 ^ 31)
  held = nil
end
if ARGV[1] == 'only' or ARGV[1] == 'refresh' then
  local record = redis.pcall('GETRANGE', KEYS[1], 0, 83)
  if type(record) == 'string' and record ~= '' and record ~= ARGV[6] then return {'taken', 0} end
  if held and kind == 'x' then
    if not waited then redis.call('APPEND', KEYS[2], 'w') end
    local most = tonumber(ARGV[3])
    if left > most then redis.call('PEXPIRE', KEYS[2], most) end
    return {'taken', math.max(math.min(left, most), 1)}
  end
  if ARGV[1] == 'refresh' and failures > 0 and left > REMEMBERED then
    local most = LONGEST_BACK_OFF + REMEMBERED
    if left > most then redis.call('PEXPIRE', KEYS[2], most) end
    return {'backedoff', math.min(left, most) - REMEMBERED}
  end
elseif ARGV[1] == 'share' and held then
  return {'given', held, known, 0}
end
known = known or ARGV[4]
redis.call('SET', KEYS[3], known, 'PX', LIFE)
local kept = ARGV[1] == 'share' and 's' or 'x'
redis.call('SET', KEYS[2], ARGV[2] .. ':' .. known .. ':' .. ARGV[5] .. ':' .. kept .. (waited and 'w' or ''), 'PX', ARGV[3])
return {'given', ARGV[2], known, failures}
