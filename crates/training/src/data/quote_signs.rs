//! Signs that a table's fields stand in quotes, while its quotes are read as text.

use super::delimited::Fields;

/// Counts of rows by what their quotes look like.
///
/// A writer that quotes fields quotes each that has a quote in it, and doubles that quote. So a field
/// such as `"say ""hi"""` speaks for quoting, and a field such as `5" pipe` against it.
#[derive(Debug, Default)]
pub(super) struct QuoteSigns {
    /// Rows with a field that begins and ends with a quote and has others inside doubled only.
    enclosed: u64,
    /// Those of them that have doubled quotes inside.
    doubled: u64,
    /// Rows with a quote in any other field.
    bare: u64,
    rows: u64,
    first: Option<u64>,
}

impl QuoteSigns {
    pub(super) fn see(&mut self, fields: &Fields, line: u64) {
        self.rows += 1;
        if !fields.text.contains('"') {
            return;
        }
        let (mut enclosed, mut doubled, mut bare) = (false, false, false);
        for field in fields.iter().filter(|field| field.contains('"')) {
            match inside(field) {
                Some(inside) => {
                    enclosed = true;
                    doubled |= !inside.is_empty() && inside.contains('"');
                }
                None => bare = true,
            }
        }
        self.enclosed += u64::from(enclosed);
        self.doubled += u64::from(doubled);
        self.bare += u64::from(bare);
        if enclosed {
            self.first.get_or_insert(line);
        }
    }

    /// How many rows have fields in quotes, and the first one's line, where the table looks quoted.
    pub(super) fn found(&self) -> Option<(u64, u64)> {
        let with_doubled = self.doubled > 0 && self.enclosed > self.bare;
        let most_rows = self.bare == 0 && self.enclosed > 1 && self.enclosed * 2 >= self.rows;
        self.first.filter(|_| with_doubled || most_rows).map(|line| (self.enclosed, line))
    }
}

/// What a field holds between its quotes, where those inside are doubled.
fn inside(field: &str) -> Option<&str> {
    let inside = field.strip_prefix('"')?.strip_suffix('"')?;
    inside.split("\"\"").all(|part| !part.contains('"')).then_some(inside)
}

/// Whether a row that ends too early has a field whose quote is not closed: a line end inside quotes
/// may have cut it.
pub(super) fn has_open_quote(fields: &Fields) -> bool {
    fields.last_field().starts_with('"') && fields.last_field().matches('"').count() % 2 == 1
}
