"""Tiny backbones with random weights: the real architectures, trained from scratch in a minute.

They need no download: the tokenizer is a byte-level BPE trained here on a page of text, the
processor is Qwen2-VL's own, the body is transformers' own class at about a million parameters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from mmreward.model.backbone import Backbone
from mmreward.model.processor import image_text_processor

# Every word of the built-in data sources, so that their sentences are a few tokens each; any other
# text is spelled in bytes.
CORPUS = """
user
assistant
Which digit is this? What digit do you see? Name this digit. I looked closely:
it is zero. It is one. This digit is two. it is three. It is four. it is five. This digit is six.
It is seven. It is eight. it is nine. zero. one. two. three. four. five. six. seven. eight. nine.
Is this digit odd or even? Odd or even? Is the digit you see even or odd? It is odd. it is even.
Is this digit larger than five? Larger than five or not? Is it more than five? odd. even.
It is larger than five. This digit is at most five. it is larger than five. at most five.
How many circles are there? How many squares do you see? Count the triangles. Count the crosses.
I count zero. I count five. The answer is three. The answer is two. I count one. I count four.
What colour is the circle? Name the colour of the circle. What is the colour of the circle?
It is red. it is green. The circle is blue. It is yellow. The circle is purple. it is orange.
What is left of what, the square or the triangle? Which is further left, the cross or the circle?
How do the circle and the square stand, from left to right? From left to right:
The triangle is left of the cross. The square is right of the circle. cross, triangle.
"""

SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

# The layout of Qwen's chats (ChatML), a turn each, images where they stand in the turn.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@lru_cache(maxsize=4)
def _bpe(vocab_size: int) -> str:
    """A byte-level BPE trained on CORPUS, as JSON; the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    return tokenizer.to_str()


def tiny_tokenizer(vocab_size: int = 512, chat: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's special tokens; without `chat` a plain one like GPT-2's."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_bpe(vocab_size)),
        eos_token="<|im_end|>" if chat else "<|endoftext|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=SPECIALS[1:] if chat else [],
    )
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    return tokenizer


def tiny_processor(
    vocab_size: int = 512,
    min_pixels: int = 28 * 28,
    max_pixels: int = 224 * 224,
    patch_size: int = 14,
    base: type = Qwen2VLProcessor,
) -> Any:
    """Qwen2-VL's image processor with the tiny tokenizer."""
    return image_text_processor(base)(
        Qwen2VLImageProcessorPil(
            min_pixels=min_pixels, max_pixels=max_pixels, patch_size=patch_size
        ),
        tiny_tokenizer(vocab_size),
        chat_template=CHAT_TEMPLATE,
    )


def special_token_ids(tokenizer: Any) -> dict[str, int]:
    """The ids a Qwen-VL configuration names, as this tokenizer numbers them."""
    ids = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }


def tiny_qwen2_vl(
    hidden_size: int = 128,
    layers: int = 2,
    heads: int = 4,
    vision_depth: int = 2,
    vocab_size: int = 512,
    max_pixels: int = 224 * 224,
    initializer_range: float = 0.08,
) -> Backbone:
    """Qwen2-VL (arXiv:2409.12191) with random weights, about 1.1 million parameters.

    initializer_range: standard deviation of the weights. About 1/sqrt(hidden_size) keeps the size
    of what passes through; the 0.02 made for widths of thousands leaves a model this narrow on a
    plateau for most of a short training.
    """
    processor = tiny_processor(vocab_size, max_pixels=max_pixels)
    head_dim = hidden_size // heads
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "intermediate_size": 2 * hidden_size,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 4096,
            "initializer_range": initializer_range,
            "bos_token_id": None,
            "eos_token_id": processor.tokenizer.eos_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                # Half the rotary pairs carry time, a quarter each height and width.
                "mrope_section": [head_dim // 4, head_dim // 8, head_dim // 8],
            },
        },
        vision_config={
            "depth": vision_depth,
            "embed_dim": hidden_size,
            "hidden_size": hidden_size,
            "num_heads": heads,
            "mlp_ratio": 2,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "initializer_range": initializer_range,
        },
        **special_token_ids(processor.tokenizer),  # type: ignore[arg-type]
    )
    return Backbone(Qwen2VLModel(config), processor.tokenizer, processor)


def tiny_gpt2(hidden_size: int = 128, layers: int = 3, heads: int = 4) -> Backbone:
    """GPT-2 with random weights: a text backbone without a chat template."""
    tokenizer = tiny_tokenizer(512, chat=False)
    config = GPT2Config(
        vocab_size=512,
        n_positions=1024,
        n_embd=hidden_size,
        n_layer=layers,
        n_head=heads,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Backbone(GPT2Model(config), tokenizer)
