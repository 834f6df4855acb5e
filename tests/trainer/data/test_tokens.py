"""The tokenizer: any script, any length, no surprise."""

from trainer.data.tokens import FIRST_WORD, PAD, UNKNOWN, Tokenizer, learn_tokenizer, split_words


def test_words_are_ranked_by_count_then_alphabet_whatever_the_order_of_texts():
    texts = ["the red mug", "the blue mug", "the cup"]
    assert learn_tokenizer(texts) == learn_tokenizer(texts[::-1])
    assert learn_tokenizer(texts).words == ("the", "mug", "blue", "cup", "red")


def test_unknown_words_share_an_id_and_short_rows_are_padded():
    tokenizer = Tokenizer(words=("mug", "red"))
    tokens = tokenizer.encode(["Red mug!", "zebra"])
    assert tokens.tolist() == [[FIRST_WORD + 1, FIRST_WORD], [UNKNOWN, PAD]]


def test_every_script_gives_words():
    assert split_words("Die Größe, ﬁne") == ["die", "grösse", "fine"]
    assert split_words("красная кружка") == ["красная", "кружка"]
    assert split_words("赤いcupの左") == ["赤", "い", "cup", "の", "左"]


def test_a_text_without_words_and_a_text_of_ten_thousand_characters_are_encoded():
    tokenizer = Tokenizer(words=("a",), max_tokens=24)
    assert tokenizer.encode(["?!…"]).tolist() == [[UNKNOWN]]
    assert tokenizer.encode(["a " * 5000]).shape == (1, 24)
