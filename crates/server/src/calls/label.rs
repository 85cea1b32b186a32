//! The labels that calls of one kind are counted under.

/// A fixed set of labels, one of which each call of a kind is counted under. Labels come from
/// callers, so the set is closed: anything else maps to one of its members.
pub(crate) trait LabelSet: Copy + Eq + Send + Sync + 'static {
    /// Every label, in the order of their indexes; 256 at most.
    const ALL: &'static [Self];
    /// The label of a call whose method was not found yet.
    const UNKNOWN: Self;

    /// Returns the place of the label in [`LabelSet::ALL`].
    fn index(self) -> u8;

    /// Returns the label with this index, [`LabelSet::UNKNOWN`] beyond the last.
    fn from_index(index: u8) -> Self;

    /// Returns the text of the label, for metrics, the state and the log.
    fn as_str(self) -> &'static str;

    /// Returns whether the duration of such calls measures how fast a provider answers.
    fn is_timed(self) -> bool;
}
