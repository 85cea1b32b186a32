//! Characters that a text of a peer must not bring to a terminal, a log or a page.

/// Returns whether a character controls how text is shown instead of being shown: a control
/// character, a line or paragraph separator, or one that changes the direction of text or has no
/// width (Unicode 17, general category Cf).
///
/// With such a character, a text from outside can move a terminal's cursor, begin a line of its
/// own, or make a name look like another one.
pub fn controls_display(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' |
            '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{180e}' | '\u{200b}'..='\u{200f}' |
            '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' |
            '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' |
            '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_any_language_is_shown_and_controls_are_not() {
        for c in "aZ0 é中ع😀\u{301}\u{a0}".chars() {
            assert!(!controls_display(c), "{c:?}");
        }
        for c in
            "\n\r\t\0\u{1b}\u{7f}\u{9b}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}".chars()
        {
            assert!(controls_display(c), "{c:?}");
        }
    }
}
