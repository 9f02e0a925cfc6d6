"""Active inheritance: select candidates by properties that can be measured but not differentiated [2407.01490]."""
