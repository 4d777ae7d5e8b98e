"""The lab's own work, a part a file: what is loaded, who is asked, what a run will cost."""
