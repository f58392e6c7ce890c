for at = 1, #KEYS, 2 do
  local token = ARGV[(at + 1) / 2 + 3]
  if lease(KEYS[at]) == token then
    if ARGV[1] == '0' then
      redis.pcall('HDEL', KEYS[at + 1], ARGV[2])
    else
      local edge = token .. ':' .. ARGV[3]
      if type(redis.pcall('HSET', KEYS[at + 1], ARGV[2], edge)) ~= 'number' then
        redis.call('DEL', KEYS[at + 1])
        redis.call('HSET', KEYS[at + 1], ARGV[2], edge)
      end
      redis.call('PEXPIRE', KEYS[at + 1], ARGV[1])
    end
  end
end
