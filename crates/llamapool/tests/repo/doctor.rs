//! The table of checks in docs/guides/doctor.md is that of the code.

use llamapool::doctor::table_of_checks;

use crate::document::{assert_current, read, with_part};

const GUIDE: &str = "docs/guides/doctor.md";

#[test]
fn the_table_of_checks_is_that_of_the_code() {
    let guide = with_part(&read(GUIDE), "checks", &table_of_checks());

    assert_current(GUIDE, &guide);
}
