# For models without weights: no training, and the table of an evaluation.
custom_hooks = [dict(type='RecallTableHook')]
