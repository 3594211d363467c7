"""A terminal's screen, as far as the chat program makes use of one. What it does not know is an
error: the program then writes more than its tests look at."""
import codecs
import re

SEQUENCE = re.compile(r"\x1b(?:([78D])|\[([0-9;]*)([A-Za-z]))")


class Screen:
    """Rows of text with a part that scrolls; what leaves at the top is kept in `gone`."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.lines = [""] * rows
        self.wrapped = [False] * rows  # the row goes on in the next one
        self.gone = []                 # (text, goes on)
        self.row = self.column = 0
        self.top, self.bottom = 0, rows - 1
        self.saved = (0, 0)
        self.decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self.rest = ""

    def feed(self, data):
        text = self.rest + self.decoder.decode(data)
        self.rest = ""
        at = 0
        while at < len(text):
            if text[at] != "\x1b":
                self.put(text[at])
                at += 1
                continue
            match = SEQUENCE.match(text, at)
            if match is None:
                if len(text) - at > 20:
                    raise ValueError(f"what is {text[at:at + 20]!r}?")
                self.rest = text[at:]  # the rest of it comes
                return
            self.sequence(match[1] or match[3], match[2] or "")
            at = match.end()

    def put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.down()
        elif char == "\b":
            self.column = max(self.column - 1, 0)
        elif char == "\a":
            pass
        elif not char.isprintable():
            raise ValueError(f"{char!r} on the screen")
        else:
            if self.column == self.columns:
                self.wrapped[self.row] = True
                self.down()
                self.column = 0
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[:self.column] + char + line[self.column + 1:]
            self.column += 1

    def down(self):
        if self.row != self.bottom:
            self.row = min(self.row + 1, self.rows - 1)
            return
        if self.top == 0:
            self.gone.append((self.lines[0], self.wrapped[0]))
        del self.lines[self.top], self.wrapped[self.top]
        self.lines.insert(self.bottom, "")
        self.wrapped.insert(self.bottom, False)

    def clear(self, row, start=0):
        self.lines[row] = self.lines[row][:start]
        self.wrapped[row] = False

    def sequence(self, final, values):
        numbers = [int(value) for value in values.split(";") if value]
        if final == "7":
            self.saved = (self.row, self.column)
        elif final == "8":
            self.row, self.column = self.saved
        elif final == "D":
            self.down()
        elif final == "A":
            self.row = max(self.row - (numbers or [1])[0], 0)
        elif final == "B":
            self.row = min(self.row + (numbers or [1])[0], self.rows - 1)
        elif final == "H":
            self.row, self.column = numbers[0] - 1, numbers[1] - 1
            if not (0 <= self.row < self.rows and 0 <= self.column < self.columns):
                raise ValueError(f"the cursor is sent to {numbers}")
        elif final == "r":
            top, bottom = numbers or (1, self.rows)
            self.top, self.bottom = top - 1, bottom - 1
            self.row = self.column = 0
        elif final == "K" and values == "2":
            self.clear(self.row)
        elif final == "J" and values == "":
            self.clear(self.row, self.column)
            for row in range(self.row + 1, self.rows):
                self.clear(row)
        elif final != "m":
            raise ValueError(f"what is ESC [ {values} {final}?")

    def text(self, rows=None):
        """All that was written, wrapped lines joined, without empty rows at the end."""
        shown = list(zip(self.lines, self.wrapped))[:rows]
        return "".join(line + ("" if wrapped else "\n")
                       for line, wrapped in self.gone + shown).rstrip("\n")


def without_statistics(data):
    """The bytes that are text: all between a saved and a restored cursor is drawn elsewhere."""
    data = re.sub(rb"\x1b7.*?\x1b8", b"", data, flags=re.S)
    return re.sub(rb"\x1b(?:D|\[[0-9;]*[A-Za-z])", b"", data)
