# XML of one stream, as its authors' program has it: three blocks, and a span head of the stream.
_base_ = 'xml.py'

model = dict(context_encoder=dict(num_blocks=3), span_head=dict(type='StreamSpanHead'))
