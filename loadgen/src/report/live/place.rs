//! A few rows at the bottom of a terminal that are replaced in place. Moves the cursor relative to where it
//! is and asks the terminal nothing: no raw mode, no other screen, no hidden cursor. So a run that is
//! interrupted, killed or panics leaves nothing to restore (docs/decisions/live-view.md).

use std::io::{self, Write};

use ratatui::backend::IntoCrossterm;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{MoveToColumn, MoveUp};
use ratatui::crossterm::queue;
use ratatui::crossterm::style::PrintStyledContent;
use ratatui::crossterm::terminal::{Clear, ClearType};
use ratatui::style::{Color, Style};
use ratatui::text::Span;

/// The rows that stand on the terminal.
#[derive(Debug, Default)]
pub struct Place {
    /// Columns that each row fills.
    widths: Vec<u16>,
}

impl Place {
    /// Erases the rows, of a terminal that is `columns` wide now. Where it became narrower, it has broken
    /// rows in two.
    pub fn erase(&mut self, out: &mut impl Write, columns: u16) -> io::Result<()> {
        let columns = columns.max(1);
        let lines = |width: &u16| width.div_ceil(columns).max(1);
        let above: u16 = self.widths.iter().map(lines).sum();
        self.widths.clear();
        match above {
            0 => Ok(()),
            _ => queue!(
                out,
                MoveUp(above),
                MoveToColumn(0),
                Clear(ClearType::FromCursorDown)
            ),
        }
    }

    /// Writes `rows`, each with a line feed. The caller has erased what stood here.
    pub fn write(
        &mut self,
        out: &mut impl Write,
        rows: &Buffer,
        has_colour: bool,
    ) -> io::Result<()> {
        for y in 0..rows.area.height {
            let width = row(out, rows, y, has_colour)?;
            writeln!(out)?;
            self.widths.push(width);
        }
        Ok(())
    }
}

/// Writes one row without the blanks at its end, and tells how wide it is.
fn row(out: &mut impl Write, rows: &Buffer, y: u16, has_colour: bool) -> io::Result<u16> {
    let is_filled = |x: &u16| rows[(*x, y)].symbol() != " ";
    let end = (0..rows.area.width).rfind(is_filled).map_or(0, |x| x + 1);
    let mut run = String::new();
    let mut run_style = Style::new();
    let (mut x, mut width) = (0, 0);
    while x < end {
        let cell = &rows[(x, y)];
        let style = match has_colour {
            true => cell.style(),
            false => Style::reset(),
        };
        if style != run_style {
            flush(out, &mut run, run_style)?;
            run_style = style;
        }
        run.push_str(cell.symbol());
        // The cells under the rest of a wide character hold nothing of their own.
        let cells = (Span::raw(cell.symbol()).width() as u16).max(1);
        (x, width) = (x + cells, x + cells);
    }
    flush(out, &mut run, run_style)?;
    Ok(width)
}

fn flush(out: &mut impl Write, run: &mut String, style: Style) -> io::Result<()> {
    let run = std::mem::take(run);
    let has_colour = style.fg.is_some_and(|colour| colour != Color::Reset);
    let is_plain = style.add_modifier.is_empty() && !has_colour;
    if run.is_empty() || is_plain {
        return out.write_all(run.as_bytes());
    }
    queue!(out, PrintStyledContent(style.into_crossterm().apply(run)))
}

#[cfg(test)]
mod tests {
    use ratatui::style::Modifier;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn rows_are_written_without_their_blanks_and_erased_from_the_first() {
        let rows = Buffer::with_lines(["ab   ", "     ", " c   "]);
        let mut place = Place::default();
        let mut out = Vec::new();
        place.write(&mut out, &rows, true).expect("a Vec takes all");
        assert_eq!(text(out), "ab\n\n c\n");
        let mut out = Vec::new();
        place.erase(&mut out, 80).expect("a Vec takes all");
        assert_eq!(text(out), "\x1b[3A\x1b[1G\x1b[J");
        let mut out = Vec::new();
        place.erase(&mut out, 80).expect("a Vec takes all");
        assert!(out.is_empty(), "nothing stands there any more");
    }

    #[test]
    fn a_terminal_that_became_narrower_has_broken_the_rows() {
        let rows = Buffer::with_lines(["12345678", "1234"]);
        let mut place = Place::default();
        place
            .write(&mut Vec::new(), &rows, true)
            .expect("a Vec takes all");
        let mut out = Vec::new();
        place.erase(&mut out, 4).expect("a Vec takes all");
        assert!(text(out).starts_with("\x1b[3A"));
    }

    #[test]
    fn wide_characters_fill_two_columns() {
        let rows = Buffer::with_lines(["好好a"]);
        let mut place = Place::default();
        let mut out = Vec::new();
        place.write(&mut out, &rows, true).expect("a Vec takes all");
        assert_eq!(text(out), "好好a\n");
        assert_eq!(place.widths, [5]);
    }

    #[test]
    fn styles_end_with_their_text_and_are_left_out_without_colour() {
        let mut rows = Buffer::with_lines(["error!"]);
        let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        rows.set_style(ratatui::layout::Rect::new(0, 0, 5, 1), style);
        let mut out = Vec::new();
        let mut place = Place::default();
        place.write(&mut out, &rows, true).expect("a Vec takes all");
        let styled = text(out);
        assert!(
            styled.contains("\x1b[1m") && styled.ends_with("!\n"),
            "{styled:?}"
        );
        let mut out = Vec::new();
        place
            .write(&mut out, &rows, false)
            .expect("a Vec takes all");
        assert_eq!(text(out), "error!\n");
    }
}
