local base, count = mark(KEYS[7], KEYS[8], KEYS[6], ARGV[9])
local reply = take()
if reply[1] == 'given' then reply[5], reply[6] = base, count end
return reply
