"""What the processes of some run files went through: attempts.py FILE... prints how many died, and how many steps were
trained again after a death."""
import sys
import h5py

died = replayed = 0
for path in sys.argv[1:]:
    with h5py.File(path, "r") as file:
        rows = file["attempts"][:]
    died += sum(row["reason"] == b"died" for row in rows)
    for before, after in zip(rows, rows[1:]):
        if 0 <= after["first_step"] <= before["last_step"]:
            replayed += int(before["last_step"] - after["first_step"]) + 1
print(died, replayed)
