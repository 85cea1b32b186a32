//! The table and the recipes of docs/guides/clients.md are those of `llamapool connect`.

use llamapool::clients::{recipes, table};

use crate::document::{assert_current, read, with_part};

#[test]
fn the_guide_of_clients_is_that_of_the_code() {
    let document = read("docs/guides/clients.md");

    let expected = with_part(&document, "clients", &table());
    let expected = with_part(&expected, "recipes", &recipes());

    assert_current("docs/guides/clients.md", &expected);
}
