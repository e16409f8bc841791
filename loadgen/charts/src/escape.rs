//! Words of others within HTML and SVG, as text or as an attribute's value. Pure.

/// What has a meaning in HTML loses it; control characters, which XML forbids, become visible.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            character if character.is_control() => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_markup() {
        let hostile = "</title><script>alert('x & \"y\"')</script>\0";
        let escaped = escape(hostile);
        assert!(!escaped.contains(['<', '>', '"', '\'', '\0']));
        assert!(escaped.contains("&lt;script&gt;alert(&#39;x &amp; &quot;y&quot;&#39;)"));
    }
}
