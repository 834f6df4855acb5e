"""Where the endpoint's address, key and model come from, and that the key goes nowhere else."""

import pytest

from annotators.chat.profile import Profile, read_profile

CHAT = {
    "MASKMIX_CHAT_BASE_URL": "http://chat:8000/v1",
    "MASKMIX_CHAT_API_KEY": "chat-key",
    "MASKMIX_CHAT_MODEL": "chat-model",
}
OPENAI = {"OPENAI_BASE_URL": "https://openai.example/v1", "OPENAI_API_KEY": "openai-key"}


def told(name: str, environment: dict[str, str]) -> tuple[str, str, str]:
    profile = read_profile(name, environment)
    return profile.base_url, profile.api_key, profile.model


def test_chat_reads_its_own_variables_before_those_of_openai():
    assert told("chat", CHAT | OPENAI) == ("http://chat:8000/v1", "chat-key", "chat-model")


def test_chat_falls_back_to_the_address_and_key_of_openai():
    expected = ("https://openai.example/v1", "openai-key", "m")
    assert told("chat", OPENAI | {"MASKMIX_CHAT_MODEL": "m"}) == expected


def test_another_profile_falls_back_to_chat():
    assert told("vlm", CHAT) == told("chat", CHAT)
    assert told("vlm", CHAT | {"MASKMIX_VLM_MODEL": "sees"})[2] == "sees"
    own = {"MASKMIX_VLM_BASE_URL": "http://vlm/v1", "MASKMIX_VLM_API_KEY": "vlm-key"}
    assert told("vlm", CHAT | own) == ("http://vlm/v1", "vlm-key", "chat-model")


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("vlm", CHAT | {"MASKMIX_VLM_BASE_URL": "http://stranger/v1"}),
        ("chat", {k: v for k, v in (CHAT | OPENAI).items() if k != "MASKMIX_CHAT_API_KEY"}),
    ],
)
def test_a_key_is_not_sent_to_an_address_that_it_was_not_set_beside(
    name: str, environment: dict[str, str]
):
    with pytest.raises(ValueError, match=f"^MASKMIX_{name.upper()}_API_KEY is not set"):
        read_profile(name, environment)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (
            "BASE_URL",
            r"MASKMIX_CHAT_BASE_URL \(or OPENAI_BASE_URL\) is not set; for example .*=http",
        ),
        ("API_KEY", r"MASKMIX_CHAT_API_KEY is not set; for example MASKMIX_CHAT_API_KEY=none"),
        ("MODEL", r"MASKMIX_CHAT_MODEL is not set; for example MASKMIX_CHAT_MODEL=\w+/"),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_or_empty_variable_is_named_with_an_example(missing: str, said: str, empty: bool):
    environment = {k: v for k, v in CHAT.items() if not k.endswith(missing)}
    if empty:
        environment[f"MASKMIX_CHAT_{missing}"] = " "
    with pytest.raises(ValueError, match=said):
        read_profile("chat", environment)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "file:///etc/passwd", "ftp://me:pass@host/v1", "http://?a=b"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str):
    with pytest.raises(ValueError, match=r"no http\(s\) address") as caught:
        read_profile("chat", CHAT | {"MASKMIX_CHAT_BASE_URL": url})
    assert url not in str(caught.value)


def test_key_password_and_query_are_not_shown():
    profile = Profile(base_url="http://me:pass@host:81/v1?token=t", api_key="secret-key", model="m")
    assert profile.shown == "http://host:81/v1"
    assert "secret-key" not in repr(profile)
    assert profile.scrub("key secret-key!") == "key ***!"


def test_a_key_that_is_a_plain_word_is_not_cut_out_of_sentences():
    profile = Profile(base_url="http://host/v1", api_key="none", model="m")
    assert profile.scrub("there are none") == "there are none"
