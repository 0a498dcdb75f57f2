"""HTML as GitHub shows it in a notebook: its sanitiser's list of what may stay, in nh3.

The list is that of html-pipeline's `SanitizationFilter` (2.14, `lib/html/pipeline/sanitization_filter.rb`),
which GitHub publishes: no style, class or id, no `data:` source, no `meter`, `progress` or `audio`.
"""

import nh3

ELEMENTS = set(
    """h1 h2 h3 h4 h5 h6 br b i strong em a pre code img tt div ins del sup sub p ol ul table thead tbody tfoot
    blockquote dl dt dd kbd q samp var hr ruby rt rp li tr td th s strike summary details caption figure
    figcaption abbr bdo cite dfn mark small span time wbr""".split()
)
EVERYWHERE = set(
    """abbr accept accept-charset accesskey action align alt aria-describedby aria-hidden aria-label
    aria-labelledby axis border char charoff charset checked clear cols colspan color compact coords datetime
    dir disabled enctype for frame headers height hreflang hspace ismap label lang maxlength media method
    multiple name nohref noshade nowrap open progress prompt readonly rel rev role rows rowspan rules scope
    selected shape size span start summary tabindex title type usemap valign value width itemprop""".split()
)
OF_ELEMENTS = {
    "a": {"href"},
    "img": {"src", "longdesc", "loading", "alt"},
    "div": {"itemscope", "itemtype"},
    **{name: {"cite"} for name in ("blockquote", "del", "ins", "q")},
}


def cleaned(html):
    """What is left of it."""
    attributes = {name: OF_ELEMENTS.get(name, set()) | EVERYWHERE - {"rel"} for name in ELEMENTS}
    return nh3.clean(html, tags=ELEMENTS, attributes=attributes, url_schemes={"http", "https", "mailto"}, link_rel=None)
