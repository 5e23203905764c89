"""Our configuration from the settings of the authors' program."""

from typing import Any


def stream_widths(settings: dict[str, Any]) -> dict[str, int]:
    """Stream name to input width, position columns included."""
    widths = {}
    if 'video' in settings['ctx_mode']:
        widths['video'] = settings['visual_input_size']
    if 'sub' in settings['ctx_mode']:
        widths['subtitle'] = settings['sub_input_size']
    return widths


def model_config(settings: dict[str, Any], dropout: float | None = None) -> dict[str, Any]:
    """The config of a model; ``dropout`` overrides the settings' probabilities."""
    return dict(
        type='reloclnet_mm.ReLoCLNet',
        streams=stream_widths(settings),
        query_channels=settings['query_input_size'],
        embed_dims=settings['hidden_size'],
        num_heads=settings['n_heads'],
        input_dropout=settings['input_drop'] if dropout is None else dropout,
        dropout=settings['drop'] if dropout is None else dropout,
        query_encoder=dict(type='reloclnet_mm.QueryEncoder', max_tokens=settings['max_desc_l']),
        context_encoder=dict(type='reloclnet_mm.ContextEncoder', max_clips=settings['max_ctx_l']),
        span_head=dict(
            type='reloclnet_mm.MergedSpanHead', kernel_size=settings['conv_kernel_size']
        ),
        padding='official',
        loss_ranking=dict(
            type='reloclnet_mm.RankingLoss',
            kind=settings['ranking_loss_type'],
            margin=settings['margin'],
            pool_size=settings['hard_pool_size'] if settings['use_hard_negative'] else None,
            query_weight=settings['lw_neg_ctx'],
            video_weight=settings['lw_neg_q'],
        ),
        loss_span=dict(type='reloclnet_mm.SpanLoss', loss_weight=settings['lw_st_ed']),
        loss_frame=dict(type='reloclnet_mm.FrameContrastiveLoss', loss_weight=settings['lw_fcl']),
        loss_video=dict(type='reloclnet_mm.VideoContrastiveLoss', loss_weight=settings['lw_vcl']),
    )


def feature_widths(settings: dict[str, Any]) -> dict[str, int]:
    """Widths in the feature files: without the two position columns, where there are any."""
    position = 2 if 'tef' in settings['ctx_mode'] else 0
    streams = {name: width - position for name, width in stream_widths(settings).items()}
    return {**streams, 'query': settings['query_input_size']}
