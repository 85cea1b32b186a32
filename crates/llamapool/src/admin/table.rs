//! Tables for people: columns as wide as their widest cell.

/// Returns rows below their head, with two spaces between columns.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells
                .chain([head[column].chars().count()])
                .max()
                .unwrap_or(0)
        })
        .collect();

    let mut text = String::new();
    let head = head.map(str::to_owned);
    for row in [&head].into_iter().chain(rows) {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "laptop".to_owned()],
            ["long".to_owned(), "b".to_owned()],
        ];

        let text = table(["ID", "NAME"], &rows);

        assert_eq!(text, "ID    NAME\na     laptop\nlong  b\n");
    }
}
