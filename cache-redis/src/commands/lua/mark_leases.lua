local base, count = mark(KEYS[#KEYS - 1], KEYS[#KEYS], KEYS[#KEYS - 2], ARGV[#ARGV - 1])
return {take(), base, count}
