"""Text that breaks Markdown, HTML or a terminal where it is not escaped."""

from hypothesis import strategies as st

SNIPPETS = (
    *(
        "|",
        "\\",
        "`",
        "``",
        "\n",
        "\r\n",
        " ",
        "@octocat",
        "#12",
        "$x$",
        "$`x`$",
        "<b>",
        "<!--",
        "-->",
        "[a](b)",
        "![",
        "]",
    ),
    *("http://a.b", "www.a.b", "*", "**", "_", "~~", "&amp;", "&#124;", ":smile:", "---", "====", "\u202e", "\x00"),
)


NASTY = st.lists(st.sampled_from(SNIPPETS) | st.text(max_size=3)).map("".join)
