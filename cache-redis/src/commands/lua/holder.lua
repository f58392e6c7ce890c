return lease(KEYS[1]) or ''
