local LIFE = 31622400000
local LONGEST_BACK_OFF = 60000
local REMEMBERED = 120000
local function text(key)
  local text = redis.pcall('GETRANGE', key, 0, 199)
  if type(text) == 'string' then return text end
  return ''
end
local function lease_or_back_off(key)
  local number, epoch, history, kind, waited = string.match(text(key), '^([1-9]%d*):(%d*):(%d*):([xsb])(w?)$')
  if number and #number <= 19 then return number, waited == 'w', kind, epoch, history end
  return nil, false
end
local function lease(key)
  local token, waited, kind, epoch, history = lease_or_back_off(key)
  if kind == 'b' then return nil, false end
  return token, waited, kind, epoch, history
end
local function number(key)
  local number = string.match(text(key), '^([1-9]%d*)$')
  if number and #number <= 19 then return number end
  return nil
end
local function history(key)
  return string.match(text(key), '^([1-9]%d*):')
end
local function foreign(answer)
  return type(answer) == 'table' and string.find(answer.err or '', 'WRONGTYPE', 1, true) ~= nil
end
local function guarded(key)
  if redis.call('EXISTS', key) ~= 1 then return false end
  local time = redis.call('TIME')
  local over = redis.pcall('ZREMRANGEBYSCORE', key, '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
  if foreign(over) then redis.call('DEL', key) end
  return redis.call('EXISTS', key) == 1
end
local CHANNEL = ARGV[#ARGV]
local function last_message(sequence)
  local last = number(sequence)
  if last and tonumber(last) <= 2 ^ 52 then return last end
  return nil
end
local function begin_sequence(sequence)
  local time = redis.call('TIME')
  local number = string.format('%d', time[1] * 1000000 + time[2])
  redis.call('DEL', sequence)
  redis.call('SET', sequence, number, 'PX', LIFE)
  redis.call('SPUBLISH', CHANNEL, number .. ':s:0')
end
local function publish(sequence, message)
  local count = redis.pcall('INCR', sequence)
  if type(count) ~= 'number' or count < 2 or count > 2 ^ 52 then
    begin_sequence(sequence)
    count = redis.call('INCR', sequence)
  end
  redis.call('PEXPIRE', sequence, LIFE)
  return redis.call('SPUBLISH', CHANNEL, string.format('%d:', count) .. message)
end
local function audit(stream, who, what, most)
  if not stream then return 1 end
  local id = redis.pcall('XADD', stream, 'MAXLEN', '~', most, '*', 'who', who, 'what', what)
  local refusal = type(id) == 'table' and id.err
  if not refusal then return 1 end
  if string.find(refusal, 'ACL failure', 1, true) or string.find(refusal, 'The user executing', 1, true) then
    return 'NOPERM'
  end
  return string.match(refusal, '^%-?(%u+)') or 'ERR'
end
