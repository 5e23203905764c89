# ActivityNet Captions as text, where a tenth of the training videos is held out: settings and the
# best epoch are chosen on them, and the videos of val are looked at once, in the test. A video with
# its annotators exchanged has the queries of the other as its text, so only one of the two is held
# out.
_base_ = 'anet_text.py'

held_out = dict(held_out=0.1)
fit_reader = dict(part='fit', **held_out)
held_out_reader = dict(**_base_.train_reader, part='held_out', recordings_once=True, **held_out)

train_dataloader = dict(dataset=dict(reader=fit_reader))
val_dataloader = dict(dataset=dict(reader=held_out_reader))
val_corpus_dataloader = dict(dataset=dict(reader=held_out_reader))
