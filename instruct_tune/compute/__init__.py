"""Heavy work as frozen descriptions, and the models it runs on: in this process, or in a worker with a GPU."""
