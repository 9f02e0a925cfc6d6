"""Translation of prompts: translators are teachers, their translations candidates, the best one a prompt.

prompts ─> expand ─> route ─> generate[translator] ─> translate[translator] ─> score, check ─> select
Prompt     Prompt: a      Candidate: reply for     Candidate: the whole                  Prompt: in the
           source and     each segment             translation                           target language
           a target
"""
