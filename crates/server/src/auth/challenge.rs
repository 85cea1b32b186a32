//! The challenges of ids that ask for a sign-in (RFC 6750, 3; RFC 9728, 5.1).

use llamapool_identity::Scope;
use llamapool_wire::Cause;

/// Returns the challenge of a refusal, `None` if another credential changes nothing. A call without a
/// credential gets no error code (RFC 6750, 3.1). The metadata stand first: some clients read no
/// further.
pub(super) fn of(cause: Cause, metadata: &str) -> Option<String> {
    let error = match cause {
        Cause::KeyMissing => "",
        Cause::KeyInvalid => ", error=\"invalid_token\"",
        _ => return None,
    };
    Some(challenge(metadata, error))
}

/// Returns the challenge of a message that the scope of a token does not allow, and that of another
/// token could. A client then asks the person for that scope (MCP 2025-11-25, authorization: step-up).
pub(super) fn step_up(metadata: &str) -> String {
    challenge(metadata, ", error=\"insufficient_scope\"")
}

fn challenge(metadata: &str, error: &str) -> String {
    let scope = Scope::All;
    format!("Bearer resource_metadata=\"{metadata}\"{error}, scope=\"{scope}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_credential_that_is_not_valid_is_an_error() {
        let of = |cause| of(cause, "https://pool.example/m");

        assert_eq!(
            of(Cause::KeyMissing).as_deref(),
            Some("Bearer resource_metadata=\"https://pool.example/m\", scope=\"mcp\"")
        );
        assert_eq!(
            of(Cause::KeyInvalid).as_deref(),
            Some(
                "Bearer resource_metadata=\"https://pool.example/m\", error=\"invalid_token\", \
                 scope=\"mcp\""
            )
        );
        assert_eq!(of(Cause::NotAllowed), None);
    }

    #[test]
    fn a_step_up_names_the_scope_to_ask_for() {
        assert_eq!(
            step_up("https://pool.example/m"),
            "Bearer resource_metadata=\"https://pool.example/m\", error=\"insufficient_scope\", \
             scope=\"mcp\""
        );
    }
}
