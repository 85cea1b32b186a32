//! The size of a prompt, and the blocks that it consists of.
//!
//! Base64 is no text: two megabytes of a picture are not 650 000 tokens. Such strings are left out of
//! the bytes, and counted as media.

use std::ops::Range;

use memchr::{memchr, memmem};

use super::cursor::{Cursor, Kind, WalkError};

/// The most blocks of one part of a prompt. The last one has all that comes behind it.
const MAX_BLOCKS: usize = 4096;
/// Where `;base64,` stands at the latest in a data URL, in bytes.
const MAX_DATA_URL_HEAD: usize = 256;

/// A piece of a prompt: a message, or what stands for the same in other APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Its place in the body.
    pub(super) span: Range<usize>,
    /// The media in it.
    pub(super) media: Media,
}

/// Images, sounds and files in a piece of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Media {
    /// How many.
    pub(super) count: u32,
    /// Their bytes, as base64.
    pub(super) bytes: usize,
}

/// The blocks of one part of a prompt, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blocks(pub(super) Vec<Block>);

/// The items of a value of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Items {
    /// How many there are.
    pub(super) count: u32,
    /// True if they stand in an array.
    pub(super) is_list: bool,
}

/// The place where a value stands, by which it is text or base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Anything.
    Any,
    /// A string here is base64.
    Base64,
    /// The items of an array here are base64.
    Base64List,
    /// The member `data` of an object here is base64.
    Audio,
}

impl Block {
    /// Returns the bytes of the block without base64.
    pub(super) fn text_bytes(&self) -> usize {
        self.span.len().saturating_sub(self.media.bytes)
    }
}

impl Media {
    fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.bytes += other.bytes;
    }

    /// Counts a string that is base64. An empty one is nothing.
    fn add_string(&mut self, string: &Range<usize>) {
        let inside = string.len().saturating_sub(2);
        if inside > 0 {
            self.add(Self {
                count: 1,
                bytes: inside,
            });
        }
    }
}

impl Blocks {
    /// Adds a block for the value at the cursor.
    pub(super) fn add_value(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WalkError> {
        let mut media = Media::default();
        let span = measure(cursor, Place::Any, &mut media)?;
        self.add(Block { span, media });
        Ok(())
    }

    /// Adds one block for each item of an array, or one for another value. An array of numbers is
    /// one value: the tokens of a text. Null, an empty string and an empty array have no items.
    pub(super) fn add_items(&mut self, cursor: &mut Cursor<'_>) -> Result<Items, WalkError> {
        let kind = cursor.kind()?;
        let is_list = kind == Kind::Array && first_item(cursor)? != Some(Kind::Number);
        if !is_list {
            let start = cursor.at();
            self.add_value(cursor)?;
            let is_empty = kind == Kind::Null || &cursor.text()[start..cursor.at()] == r#""""#;
            return Ok(Items {
                count: u32::from(!is_empty),
                is_list,
            });
        }

        let mut count: u32 = 0;
        cursor.each_item::<WalkError>(|cursor| {
            count = count.saturating_add(1);
            self.add_value(cursor)
        })?;
        Ok(Items { count, is_list })
    }

    /// Adds a block for the list of tools at the cursor, and calls `visit_type` for the type of each
    /// one that has some, as it stands in the text.
    pub(super) fn add_tools(
        &mut self,
        cursor: &mut Cursor<'_>,
        mut visit_type: impl FnMut(&str),
    ) -> Result<(), WalkError> {
        let mut media = Media::default();
        let span = cursor.each_item::<WalkError>(|cursor| {
            if cursor.kind()? != Kind::Object {
                return Ok(());
            }
            cursor.each_member::<WalkError>(|cursor, name| {
                let value = measure(cursor, Place::Any, &mut media)?;
                if name.decoded() == "type" {
                    visit_type(&cursor.text()[value]);
                }
                Ok(())
            })?;
            Ok(())
        })?;
        self.add(Block { span, media });
        Ok(())
    }

    /// Adds a block for a list of pictures, each of them base64.
    pub(super) fn add_pictures(&mut self, cursor: &mut Cursor<'_>) -> Result<(), WalkError> {
        let mut media = Media::default();
        let span = measure(cursor, Place::Base64List, &mut media)?;
        self.add(Block { span, media });
        Ok(())
    }

    /// Returns the bytes of all blocks without base64.
    pub(super) fn text_bytes(&self) -> u64 {
        self.0.iter().map(|block| block.text_bytes() as u64).sum()
    }

    /// Returns the media of all blocks.
    pub(super) fn media(&self) -> u32 {
        let counts = self.0.iter().map(|block| block.media.count);
        counts.fold(0, u32::saturating_add)
    }

    fn add(&mut self, block: Block) {
        let is_full = self.0.len() >= MAX_BLOCKS;
        match self.0.last_mut().filter(|_| is_full) {
            Some(last) => {
                last.span.end = block.span.end;
                last.media.add(block.media);
            }
            None => self.0.push(block),
        }
    }
}

/// Returns the kind of the first item of the array at the cursor, which stays where it is.
pub(super) fn first_item(cursor: &Cursor<'_>) -> Result<Option<Kind>, WalkError> {
    let mut ahead = Cursor::new(cursor.text(), cursor.at() + 1);
    match ahead.kind() {
        Ok(kind) => Ok(Some(kind)),
        // The end of an empty array is no value.
        Err(WalkError::NotJson) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Passes over a value of a prompt and counts its media. Returns its place.
fn measure(
    cursor: &mut Cursor<'_>,
    place: Place,
    media: &mut Media,
) -> Result<Range<usize>, WalkError> {
    match cursor.kind()? {
        Kind::String => {
            let string = cursor.value()?;
            if place == Place::Base64 || is_data_url(&cursor.text()[string.clone()]) {
                media.add_string(&string);
            }
            Ok(string)
        }
        Kind::Array => {
            let place = if place == Place::Base64List {
                Place::Base64
            } else {
                Place::Any
            };
            cursor.each_item(|cursor| measure(cursor, place, media).map(|_| ()))
        }
        Kind::Object => measure_object(cursor, place, media),
        Kind::Number | Kind::Bool | Kind::Null => cursor.value(),
    }
}

fn measure_object(
    cursor: &mut Cursor<'_>,
    place: Place,
    media: &mut Media,
) -> Result<Range<usize>, WalkError> {
    // Anthropic's pictures: `{"type":"base64","media_type":…,"data":…}`, in any order.
    let mut is_base64 = false;
    let mut data = None;

    let object = cursor.each_member::<WalkError>(|cursor, name| {
        let name = name.decoded();
        let is_string = cursor.kind()? == Kind::String;
        let place = match &*name {
            "file_data" => Place::Base64,
            "images" => Place::Base64List,
            "input_audio" => Place::Audio,
            "data" if place == Place::Audio => Place::Base64,
            _ => Place::Any,
        };

        let before = media.count;
        let value = measure(cursor, place, media)?;
        match &*name {
            "type" => is_base64 = &cursor.text()[value] == r#""base64""#,
            "data" if is_string && media.count == before => data = Some(value),
            _ => {}
        }
        Ok(())
    })?;

    if let Some(data) = data.filter(|_| is_base64) {
        media.add_string(&data);
    }
    Ok(object)
}

/// Returns whether a string, with its quotes, is a data URL with base64. One with a space in it is a
/// text that begins like one.
fn is_data_url(string: &str) -> bool {
    let bytes = string.as_bytes();
    let head = &bytes[..bytes.len().min(MAX_DATA_URL_HEAD)];
    head.starts_with(b"\"data:")
        && memmem::find(head, b";base64,").is_some()
        && memchr(b' ', bytes).is_none()
}
