//! The labels of calls to MCP providers: the methods of MCP.

use llamapool_mcp::MethodLabel;

use crate::calls::{CallMetrics, LabelSet};
use crate::metrics::{Door, Metrics};

impl LabelSet for MethodLabel {
    const ALL: &'static [Self] = Self::ALL;
    const UNKNOWN: Self = Self::Other;

    fn index(self) -> u8 {
        self.index()
    }

    fn from_index(index: u8) -> Self {
        Self::from_index(index)
    }

    fn as_str(self) -> &'static str {
        self.as_str()
    }

    fn is_timed(self) -> bool {
        !self.is_long_lived()
    }
}

/// Adds the counts of calls to MCP providers to the metrics.
pub(crate) fn mcp_metrics(metrics: &Metrics) -> CallMetrics<MethodLabel> {
    CallMetrics::new(
        metrics,
        Door::Mcp,
        "llamapool_call_duration_seconds",
        "method",
    )
}
