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
    loss_ranking = dict(
        type='reloclnet_mm.RankingLoss',
        kind=settings['ranking_loss_type'],
        margin=settings['margin'],
        pool_size=settings['hard_pool_size'] if settings['use_hard_negative'] else None,
        query_weight=settings['lw_neg_ctx'],
        video_weight=settings['lw_neg_q'],
    )
    shared = dict(
        streams=stream_widths(settings),
        query_channels=settings['query_input_size'],
        embed_dims=settings['hidden_size'],
        num_heads=settings['n_heads'],
        input_dropout=settings['input_drop'] if dropout is None else dropout,
        dropout=settings['drop'] if dropout is None else dropout,
        padding='official',
        loss_ranking=loss_ranking,
        loss_span=dict(type='reloclnet_mm.SpanLoss', loss_weight=settings['lw_st_ed']),
    )
    # XML's settings have this switch; ReLoCLNet always merges.
    if 'merge_two_stream' in settings:
        return shared | _xml(settings)
    return shared | _reloclnet(settings)


def _reloclnet(settings: dict[str, Any]) -> dict[str, Any]:
    return dict(
        type='reloclnet_mm.ReLoCLNet',
        **_parts(settings, query_blocks=2, clip_blocks=3, head='MergedSpanHead'),
        loss_frame=dict(type='reloclnet_mm.FrameContrastiveLoss', loss_weight=settings['lw_fcl']),
        loss_video=dict(type='reloclnet_mm.VideoContrastiveLoss', loss_weight=settings['lw_vcl']),
    )


def _xml(settings: dict[str, Any]) -> dict[str, Any]:
    return dict(
        type='reloclnet_mm.XML',
        **_parts(
            settings,
            query_blocks=1,
            clip_blocks=2 if settings['cross_att'] else 3,
            crosswise=settings['cross_att'],
            head='MergedSpanHead' if settings['merge_two_stream'] else 'StreamSpanHead',
        ),
    )


def _parts(
    settings: dict[str, Any],
    *,
    query_blocks: int,
    clip_blocks: int,
    head: str,
    crosswise: bool = True,
) -> dict[str, Any]:
    return dict(
        query_encoder=dict(
            type='reloclnet_mm.QueryEncoder',
            num_blocks=query_blocks,
            max_tokens=settings['max_desc_l'],
        ),
        context_encoder=dict(
            type='reloclnet_mm.ContextEncoder',
            num_blocks=clip_blocks,
            crosswise=crosswise,
            max_clips=settings['max_ctx_l'],
        ),
        span_head=dict(type=f'reloclnet_mm.{head}', kernel_size=settings['conv_kernel_size']),
    )


def feature_widths(settings: dict[str, Any]) -> dict[str, int]:
    """Widths in the feature files: without the two position columns, where there are any."""
    position = 2 if 'tef' in settings['ctx_mode'] else 0
    streams = {name: width - position for name, width in stream_widths(settings).items()}
    return {**streams, 'query': settings['query_input_size']}


def conquer_config(meta: dict[str, Any], dropout: float) -> dict[str, Any]:
    """The config of CONQUER with the settings of a golden."""
    bert, heads = meta['config']['bert_config'], meta['config']['moment_localization_config']
    convolution, scoring = heads['conv_cfg_1'], meta['similarity_measure']
    streams = dict(video=meta['visual_dim'])
    if 'sub' in meta['ctx_mode']:
        streams['subtitle'] = meta['text_dim']
    videos = {}
    if scoring == 'exclusive':
        channels = meta['config']['video_scoring_config']['linear_1_cfg']['out_features']
        videos = dict(
            video_head=dict(type='reloclnet_mm.PairVideoHead', channels=channels),
            loss_video=dict(type='reloclnet_mm.VideoChoiceLoss', loss_weight=meta['lw_video_ce']),
        )
    tokens = meta['config']['query_bert_config']['max_position_embeddings']
    return dict(
        type='reloclnet_mm.CONQUER',
        streams=streams,
        query_channels=meta['query_dim'],
        embed_dims=meta['hidden_dim'],
        num_heads=bert['num_attention_heads'],
        feedforward_dims=bert['intermediate_size'],
        num_clusters=meta['config']['netvlad_config']['text_cluster'],
        scoring=scoring,
        input_dropout=dropout,
        dropout=dropout,
        padding='official',
        query_encoder=dict(type='reloclnet_mm.TokenEncoder', max_tokens=tokens),
        context_encoder=dict(
            type='reloclnet_mm.JointStreamEncoder', max_clips=bert['max_position_embeddings']
        ),
        moment_head=dict(
            type='reloclnet_mm.PairMomentHead',
            channels=convolution['out_channels'],
            kernel_size=convolution['kernel_size'],
        ),
        loss_span=dict(type='reloclnet_mm.SpanLoss', loss_weight=meta['lw_st_ed']),
        **videos,
    )
