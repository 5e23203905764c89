"""Parameter names of the authors' CONQUER and ours."""

from collections.abc import Iterable

from reloclnet_mm.models.official_names import parameters, within

_PROJECTION = {'LayerNorm': 'norm', 'net.1': 'linear'}
_LAYER = {
    'attention.self.query': 'attention.attention.query',
    'attention.self.key': 'attention.attention.key',
    'attention.self.value': 'attention.attention.value',
    'attention.output.dense': 'attention.output',
    'attention.output.LayerNorm': 'attention.norm',
    'intermediate.dense': 'hidden',
    'output.dense': 'output',
    'output.LayerNorm': 'norm',
}
_TRANSFORMER = {
    'embeddings.position_embeddings': 'position.embedding',
    'embeddings.token_type_embeddings': 'position.types',
    'embeddings.LayerNorm': 'position.norm',
    **within('encoder.layer.0', 'layer', _LAYER),
}
_PROJECTED_LAYER = {
    **within('trans_linear', 'projection', _PROJECTION),
    **within('encoder.layer.0', 'layer', _LAYER),
}
_SCORER = {'0': 'hidden', '2': 'output'}
_WITHOUT_BIAS = (
    *('position_embeddings', 'token_type_embeddings', 'similarity_weight', 'moe_fc_txt'),
    *('score_predictor.0', 'score_predictor.2'),
)


def is_conquer(official: Iterable[str]) -> bool:
    """Tell CONQUER from other models by the authors' names of parameters."""
    return any(str(name).startswith('query_aware_feature_learning_layer.') for name in official)


def conquer_names(official: Iterable[str]) -> dict[str, str]:
    """Map the authors' name of each parameter of CONQUER to ours.

    Args:
        official: The authors' names, which tell whether there are one or two streams and whether
            videos are scored.
    """
    names = [str(name) for name in official]
    modules = {
        **within('encoder.queryEncoder.linear', 'query_encoder.projection', _PROJECTION),
        **within('encoder.queryEncoder.transformer', 'query_encoder', _TRANSFORMER),
        **within('encoder.videoEncoder.transformer', 'context_encoder', _TRANSFORMER),
        'query_aware_feature_learning_layer.similarity_weight': 'flow.similarity',
        **within('contextual_QAL_feature_learning', 'flow_layer', _PROJECTED_LAYER),
    }
    for theirs, ours in (('begin', 'start'), ('end', 'end')):
        head = f'moment_localization_head.{theirs}'
        modules |= within(f'{head}_feature_modeling', f'moment_head.{ours}_layer', _PROJECTED_LAYER)
        scorer = f'{head}_score_modeling.clip_score_predictor'
        modules |= within(scorer, f'moment_head.{ours}_scorer', _SCORER)
    if any(name.startswith('video_scoring_head.') for name in names):
        head = 'video_scoring_head.video'
        modules |= within(f'{head}_feature_modeling', 'video_head.layer', _PROJECTED_LAYER)
        modules |= within(f'{head}_score_predictor', 'video_head', _SCORER)
    if not any(name.startswith('encoder.videoEncoder.text_linear.') for name in names):
        return parameters(modules | _projection('linear', 'video'), _WITHOUT_BIAS)
    modules |= _projection('img_linear', 'video') | _projection('text_linear', 'subtitle')
    modules['query_weight.text_pooling.LayerNorm'] = 'stream_weights.pooling.norm'
    modules['query_weight.moe_fc_txt'] = 'stream_weights.linear'
    return {
        **parameters(modules, _WITHOUT_BIAS),
        'query_weight.text_pooling.clusters': 'stream_weights.pooling.clusters',
        'query_weight.text_pooling.clusters2': 'stream_weights.pooling.centers',
    }


def _projection(theirs: str, stream: str) -> dict[str, str]:
    return within(
        f'encoder.videoEncoder.{theirs}', f'context_encoder.projections.{stream}', _PROJECTION
    )
