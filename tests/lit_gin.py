"""The gin file of the LiT of goldens/lit_text_transformer.npz."""

LIT = """
from __gin__ import dynamic_registration
include 'gin/models/lit_l16s.gin'
include 'gin/recipes/published_lit.gin'
from tfvit.data.images import ops
from tfvit.data import tokenizers
from tfvit.models import lit
from tfvit.models import text_tower
from tfvit.models import vit
lit.lit.out_dim = (None, 24)
vit.vit.image_size = 32
vit.vit.patch_size = 8
vit.vit.width = 24
vit.vit.depth = 2
vit.vit.num_heads = 3
vit.vit.mlp_dim = 48
text_tower.text_transformer.width = 16
text_tower.text_transformer.depth = 2
text_tower.text_transformer.num_heads = 2
text_tower.text_transformer.mlp_dim = 32
text_tower.text_transformer.vocab_size = 50
text_tower.text_transformer.max_len = 8
ops.resize.size = 32
tokenizers.wordpiece.max_len = 8
"""
